"""The endpoints: what each asks and answers; what they do, other modules say."""
