package model

// shortID is how many characters of an ID Docker's commands print.
const shortID = 12

// ShortID returns an ID as `docker network ls` prints it: its first 12 characters.
func ShortID(id string) string { return id[:min(len(id), shortID)] }

// Alias returns the alias (ip-link(8)) of a bridge that mybr made for a network.
func (n Network) Alias() string { return AliasNetwork + n.ID }

// Alias returns the alias of the host's end of the endpoint's veth pair.
func (e Endpoint) Alias() string { return AliasEndpoint + e.ID }

// AliasPrefix begins the alias of every link that mybr made; a noun and the ID of the
// network or endpoint follow, so that the links are found again without any record.
const (
	AliasPrefix   = "mybr "
	AliasNetwork  = AliasPrefix + "network "
	AliasEndpoint = AliasPrefix + "endpoint "
)
