"""Collections over HTTP: the application, what it is asked and answers, and a client of it."""
