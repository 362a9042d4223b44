"""What the Hugging Face hub says, through its client's one door, and what is remembered of it."""
