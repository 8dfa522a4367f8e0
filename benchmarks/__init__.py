"""How fast pmbench is, beside what it could be: every row a ratio, both sides in one run."""
