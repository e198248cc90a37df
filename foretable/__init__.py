"""foretable turns the event log in a warehouse into predictions that anyone can select."""
