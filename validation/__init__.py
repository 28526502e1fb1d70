"""What validate.py is made of: which models are evaluated, on which ImageNet test set, and the table of results."""
