"""Result tables of the field and our own, filled by running what they name."""
