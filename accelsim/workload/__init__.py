"""What is computed: operators, layers, networks, and the values that flow through them."""
