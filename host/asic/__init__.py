"""Area and timing in standard cells."""
