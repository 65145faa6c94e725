"""What flavors need of one library: how its files load, and what its models say of themselves."""
