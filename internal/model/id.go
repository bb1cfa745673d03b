package model

// shortID is how many characters of an ID Docker's commands print.
const shortID = 12

// ShortID returns an ID as `docker network ls` prints it: its first 12 characters.
func ShortID(id string) string { return id[:min(len(id), shortID)] }
