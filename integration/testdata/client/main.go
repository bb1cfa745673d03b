// Command client lists and inspects containers with Docker's client library, as programs such
// as Traefik do, and prints which ports they find.
//
// It is a module of its own, so that the library and what it needs are no concern of mybr's.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run asks the engine at a host such as unix:///run/docker.sock.
func run(ctx context.Context, host string) error {
	c, err := client.NewClientWithOpts(client.WithHost(host), client.WithAPIVersionNegotiation())
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return err
	}
	for _, one := range list {
		slices.SortStableFunc(one.Ports, func(a, b container.Port) int { // engines list them in a map's order
			return strings.Compare(fmt.Sprint(a.PrivatePort, a.Type), fmt.Sprint(b.PrivatePort, b.Type))
		})
		whole, err := c.ContainerInspect(ctx, one.ID)
		if err != nil {
			return err
		}
		text, err := json.Marshal([]any{one.Names, one.Ports, whole.NetworkSettings.Ports})
		if err != nil {
			return err
		}
		fmt.Println(string(text))
	}
	return nil
}
