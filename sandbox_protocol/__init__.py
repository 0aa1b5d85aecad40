"""What operator, agent and client agree on: names, wire format, limits, errors. Pure, standard library only."""
