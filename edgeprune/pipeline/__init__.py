"""Plan, artifact store, runner of stages, events, and what the command line shows of them."""
