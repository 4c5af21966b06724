"""Money: prices, caps, what is held and spent, and the page that shows it."""
