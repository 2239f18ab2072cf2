"""Inside: turns the steps of one run (`network.inside`) into pictures, words, JSON and arrays."""
