"""The processes of a run: how they find each other, and how all of them end."""
