"""Stop switches: pause or quarantine an agent, quarantine a skill, stop the fleet and resume it in stages."""
