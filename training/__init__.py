"""What train.py and validate.py are made of. Nothing here knows more than its own section of the configuration."""
