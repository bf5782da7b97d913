"""What the command-line tools and users' own programs call."""
