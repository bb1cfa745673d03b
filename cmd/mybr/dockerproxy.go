package main

import (
	"cmp"
	"errors"
	"strings"
	"unicode"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mybr/mybr/plugin"
)

func newDockerProxy() *cobra.Command {
	config := plugin.ProxyConfig{Version: version}
	var level logrus.Level
	var format string
	c := command(cobra.Command{
		Use:   "docker-proxy [flags]",
		Short: "Pass Docker's API on, so that docker ps shows published ports",
		Long: `docker-proxy listens on a socket of its own and passes everything on to Docker. Where an
answer lists containers or inspects one, it puts in the ports that mybr has published, as
docker ps, docker port, docker inspect, docker compose and other clients show them for
Docker's own driver. While mybr serve can't be asked, they are shown as it told them last.

Whoever may use the socket may do what Docker's own socket allows, which is to be root. It
gets the mode and owner of Docker's: root's and the group's.

It needs no capabilities and no network. It takes the socket that systemd passes to it
(FileDescriptorName docker, or told by its path), or makes one. SIGTERM and SIGINT end it:
what is under way, docker exec too, may take 5 more seconds; then streams such as docker
logs -f are cut off.`,
		Example: `  mybr docker-proxy
  docker context create mybr --docker host=unix:///run/mybr-docker-proxy/docker.sock
  docker --context mybr ps`,
	}, func(cmd *cobra.Command) error {
		config.Log = newLog(cmd.ErrOrStderr(), level, format)
		ctx, stop := untilSignal(cmd.Context(), config.Log)
		defer stop()
		return plugin.RunDockerProxy(ctx, config)
	})
	f := c.Flags()
	unixFlag(f, &config.Listen, "listen", plugin.DockerProxySocket, "where Docker's clients connect to, unless systemd passes a socket", plugin.UnixSocket)
	config.Docker = "/var/run/docker.sock"
	unixFlag(f, &config.Docker, "docker", config.Docker, "where Docker listens", parseDocker)
	text(f, &config.Group, "group", "group", "", "who may connect beside root, by name or number; docker, if there is such a group, unless given", checkGroup)
	runDirFlag(f, &config.RunDir)
	logFlags(f, &level, &format)
	f.SortFlags = false
	return c
}

// unixFlag adds a flag whose value is the address of a unix socket. preset is what "" means.
func unixFlag(flags *pflag.FlagSet, to *string, name, preset, usage string, parse func(string) (string, error)) {
	add(flags, name, usage, value[string]{
		to: to, kind: "address", parse: parse, format: func(path string) string { return "unix://" + cmp.Or(path, preset) },
	})
}

// parseDocker reads the address of Docker's socket. The other commands can do without Docker.
func parseDocker(address string) (string, error) {
	if address == noDocker {
		return "", errors.New("docker-proxy can't do without Docker, as other commands can: want unix:///PATH")
	}
	return plugin.UnixSocket(address)
}

// checkGroup checks a group's name; whether there is such a group shows when it is used.
func checkGroup(s string) error {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ':' || unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return errors.New("want the name or number of a group")
	}
	return nil
}
