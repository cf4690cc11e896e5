"""The wire room: values to bytes and back, sealed so that nothing in a lower tier has to be trusted."""
