"""What the commands do and print, one verb a module. `cli/arguments/` has what they take."""
