"""Our metrics beside other people's implementations of them."""
