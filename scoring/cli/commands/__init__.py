"""Arguments and output of the commands, one verb a module. `command_catalog` lists them."""
