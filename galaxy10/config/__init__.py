"""The door: what a command may say, checked in a second, before torch is imported or data touched."""
