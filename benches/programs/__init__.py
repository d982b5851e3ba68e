"""What users run, for `benches/apps.py`: servers, clients, what puts load on them and what they need."""
