"""Requests that leave this house: to public addresses alone, by whichever name, and cut off at a deadline."""
