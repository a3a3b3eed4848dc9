"""What each training default is worth: arms that differ in one thing, equal cost, several seeds."""
