"""The demonstration, and how its network was trained."""
