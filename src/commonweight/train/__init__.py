"""How weights are found: one loop, the settings it runs by, and the run it leaves behind."""
