"""What each command takes, and its help. The modules of `cli/commands/` do the work.

They are imported when a command is called. The help and the answer to a typing error need them not.
"""
