"""`python -m foretable`."""

from foretable.cli import main

if __name__ == "__main__":
    main()
