"""``adaswitch eval``: evaluation as a program, with the engines that students write with."""
