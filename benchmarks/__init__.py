"""How fast convlib is, beside its peers and beside the machine itself; see README.md here."""
