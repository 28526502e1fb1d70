"""What a run saves, when, and how it continues from that."""
