package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"
	"unicode"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/plugin"
)

// logFormats are the values of --log-format.
const (
	formatText = "text"
	formatJSON = "json"
)

func newServe() *cobra.Command {
	config := plugin.Config{Version: version}
	var level logrus.Level
	var format string
	c := command(cobra.Command{
		Use:   "serve [flags]",
		Short: "Be Docker's network and IPAM driver",
		Long: `serve answers Docker on PLUGIN-DIR/NAME.sock, or on the sockets that systemd
passes to it (FileDescriptorName plugin and admin, or told by their paths). It
needs root.

SIGTERM and SIGINT finish the calls that are under way and end it; a second one
ends it at once. Containers and their networks go on without it.

Each flag can also be set by the variable in [ ]; a flag counts before its
variable, a variable before the default; an empty variable counts as not set.`,
		Example: `  mybr serve
  mybr serve --address-pool base=10.64.0.0/10,size=24 --log-level debug
  MYBR_ADDRESS_POOL="base=10.64.0.0/10,size=24 base=192.168.0.0/16,size=26" mybr serve`,
	}, func(cmd *cobra.Command) error {
		config.Log = newLog(cmd.ErrOrStderr(), level, format)
		config.SpoofAsked = cmd.Flags().Changed("spoof")
		ctx, stop := untilSignal(cmd.Context(), config.Log)
		defer stop()
		return plugin.Run(ctx, config)
	})
	environment := c.PreRunE
	c.PreRunE = func(cmd *cobra.Command, args []string) error {
		return cmp.Or(environment(cmd, args), config.CheckHTTP())
	}
	f := c.Flags()
	text(f, &config.Name, "name", "name", "mybr", "what networks are created with: docker network create -d `name`", checkName)
	text(f, &config.PluginDir, "plugin-dir", "dir", "/run/docker/plugins", "folder of the plugin socket, where Docker looks for plugins", absolute)
	text(f, &config.StateDir, "state-dir", "dir", "/var/lib/mybr", "folder of the records, mybr.db", absolute)
	runDirFlag(f, &config.RunDir)
	text(f, &config.Firewall, "firewall", "backend", "auto", "auto, iptables (in the variant, nft or legacy, that Docker uses) or nftables (works beside a Docker that uses iptables, too); auto is what Docker uses: iptables, if it is installed, unless Docker has its own rules in nftables", oneOf(plugin.Firewalls()...))
	text(f, &config.SysctlRoot, "sysctl-root", "dir", "/proc/sys", "where sysctls are written, if that is mounted elsewhere", absolute)
	toggle(f, &config.DirectRouting, "allow-direct-routing", "published ports can be reached at the containers' own addresses, from anywhere that has a route there")
	text(f, &config.Spoof, "spoof", "mode", "refuse", "refuse has containers send from their own MACs and addresses alone, on networks that don't say it with mybr.spoof; "+
		"audit lets all of it pass, and counts and logs what refuse would stop; allow does not look, as Docker's own driver doesn't", oneOf(plugin.SpoofModes()...))
	text(f, &config.PublishPolicy, "publish-policy", "policy", "open", "host has published ports be reached from outside only if the host's own firewall lets clients in at that port "+
		"(rules of INPUT, ufw, firewalld), on networks that don't say it with mybr.publish.policy; open lets them in past it, as Docker's own driver does", oneOf("open", "host"))
	add(f, "publish-address", "address of the host where ports are published that name none, on networks without host_binding_ipv4, "+
		"such as 127.0.0.1; :: is every IPv6 address (default: every address of both families)", value[netip.Addr]{
		to: &config.PublishAddress, kind: "address", parse: plugin.ParsePublishAddress, format: plugin.FormatPublishAddress,
	})
	add(f, "accept-fwmark", "firewall mark, VALUE or VALUE/MASK, of packets that pass to every network", value[plugin.Mark]{
		to: &config.AcceptMark, kind: "mark", parse: plugin.ParseMark, format: plugin.FormatMark,
	})
	config.ResyncInterval = 5 * time.Minute
	add(f, "resync-interval", "how often the whole host is compared with the records and put right, behind what the kernel "+
		"tells at once of changes by others; 0: never, and what others change stays until mybr needs it or is restarted", value[time.Duration]{
		to: &config.ResyncInterval, kind: "duration", parse: parseInterval, format: time.Duration.String,
	})
	add(f, "http", "serve a status page and /metrics for Prometheus at ADDRESS:PORT or unix:///PATH (default: nowhere)", value[plugin.HTTPAddress]{
		to: &config.HTTP, kind: "address", parse: plugin.ParseHTTPAddress, format: plugin.HTTPAddress.String,
	})
	toggle(f, &config.HTTPAllowRemote, "http-allow-remote", "--http can be an address that other hosts reach; --http-token-file is needed then")
	text(f, &config.HTTPTokenFile, "http-token-file", "file", "", "clients of --http must know the token in this file (mode 0600), as bearer or as password of any user", absolute)
	logFlags(f, &level, &format)
	add(f, "address-pool", "where subnets come from that Docker leaves to mybr, base=SUBNET,size=BITS; repeatable, in the "+
		"variable with blanks between (default of IPv4: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in subnets of /20; "+
		"of IPv6: a random /48 of fd00::/8, in subnets of /64)",
		list[plugin.AddressPool]{to: &config.AddressPools, kind: "pool", parse: plugin.ParseAddressPool})
	config.AddressQuarantine = plugin.DefaultQuarantine
	add(f, "address-quarantine", "how long a released address of mybr's IPAM driver isn't used again while others are free; 0: not at all", value[time.Duration]{
		to: &config.AddressQuarantine, kind: "time", parse: plugin.ParseQuarantine, format: time.Duration.String,
	})
	f.SortFlags = false
	return c
}

// checkName checks the name of the plugin, which becomes that of a file.
func checkName(s string) error {
	bad := func(r rune) bool { return r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r) }
	if s == "" || s == "." || s == ".." || strings.ContainsFunc(s, bad) || len(s) > 64 {
		return errors.New("want a file name of 1 to 64 bytes without blanks")
	}
	return nil
}

// parseInterval reads how often something is done; 0: never. It must not be done all the
// time.
func parseInterval(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d != 0 && d < time.Second {
		return 0, errors.New("want 0, or a duration of at least a second such as 90s or 5m")
	}
	return d, nil
}

func parseLevel(s string) (logrus.Level, error) {
	l, err := logrus.ParseLevel(s)
	if err != nil {
		return 0, fmt.Errorf("want one of %s", levels())
	}
	return l, nil
}

// logFlags adds the flags of a process that logs.
func logFlags(f *pflag.FlagSet, level *logrus.Level, format *string) {
	*level = logrus.InfoLevel
	add(f, "log-level", "least level that is logged: "+levels(), value[logrus.Level]{
		to: level, kind: "level", parse: parseLevel, format: logrus.Level.String,
	})
	text(f, format, "log-format", "format", formatText, "text or json", oneOf(formatText, formatJSON))
}

func levels() string {
	var names []string
	for _, l := range logrus.AllLevels {
		names = append(names, l.String())
	}
	return strings.Join(names, ", ")
}

func newLog(w io.Writer, level logrus.Level, format string) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(w)
	log.SetLevel(level)
	// With colours, in a terminal, messages would not be quoted: they can name what others have
	// made, such as links and programs.
	log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, DisableColors: true})
	if format == formatJSON {
		log.SetFormatter(&logrus.JSONFormatter{})
	}
	return log
}

// untilSignal returns a context that SIGTERM or SIGINT ends. A second signal ends
// the process, with the status that a shell gives for it. That isn't left to the
// kernel, which keeps signals from the first process of a container.
func untilSignal(ctx context.Context, log *logrus.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	// Otherwise a log whose reader has gone would end the process (os/signal,
	// "SIGPIPE"); and unlike an ignored signal, one that is caught isn't inherited.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if ctx.Err() != nil {
					log.Warnf("%s again: ending at once", s)
					os.Exit(128 + int(s.(unix.Signal)))
				}
				log.Infof("received %s", s)
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
