"""Run in Superset's own environment: make its tables and roles, and the accounts that standard input names.

Standard input is one JSON object: the accounts by name, each with `password` and `is_reset`, whether an account that is
there gets it too. The last line of standard output is a JSON list of the accounts that were made. Passwords stay out of
the command line, where other users could read them.
"""

import json
import sys


def main() -> None:
    """Bring Superset's own database up to date and set the accounts; raises what Superset raises."""
    from flask_migrate import upgrade
    from superset.app import create_app

    accounts = json.load(sys.stdin)
    with create_app().app_context():
        from superset import appbuilder

        upgrade()
        security = appbuilder.sm
        appbuilder.add_permissions(update_perms=True)
        security.sync_role_definitions()
        made = []
        for name, account in accounts.items():
            user = security.find_user(username=name)
            if user is None:
                role = security.find_role("Admin")
                if not security.add_user(name, name, "of foretable", f"{name}@localhost", role, account["password"]):
                    raise RuntimeError(f"Superset did not make the account {name}")
                made.append(name)
            elif account["is_reset"]:
                security.reset_password(user.id, account["password"])
    print(f"\n{json.dumps(made)}")


if __name__ == "__main__":
    main()
