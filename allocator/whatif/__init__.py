"""What would happen if: forks of the facts, decided like a round, compared, and thrown away. Pure."""
