"""The services of a run. They never import one another: they meet at the REST contract and on Ray."""
