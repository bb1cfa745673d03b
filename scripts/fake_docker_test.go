package scripts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

// plugin is a managed plugin as the Engine's API has it (GET /plugins/{name}/json).
type plugin struct {
	Enabled  bool
	Config   config
	Settings settings
}

type config struct {
	Env    []env
	Mounts []mount
	Linux  struct{ Devices []device }
	Args   struct {
		Name            string
		Value, Settable []string
	}
}

type settings struct {
	Env, Args []string
	Mounts    []mount
	Devices   []device
}

type env struct {
	Name     string
	Value    *string
	Settable []string
}

type mount struct {
	Name     string
	Source   *string
	Settable []string
}

type device struct {
	Name     string
	Path     *string
	Settable []string
}

// docker is the part of the docker command that plugin-install uses. It has one plugin,
// in home/plugin.json.
func docker(home string, args []string) error {
	file := filepath.Join(home, "plugin.json")
	p, err := load(home)
	words := strings.Join(args, " ")
	is := func(prefix string) bool { return strings.HasPrefix(words, "plugin "+prefix) }
	switch {
	case is("create "):
		return create(file, args[3])
	case err != nil:
		return err
	case is("inspect -f "):
		t, err := template.New("").Funcs(template.FuncMap{"join": strings.Join}).Parse(args[3])
		if err != nil {
			return err
		}
		defer fmt.Println()
		return t.Execute(os.Stdout, p)
	case is("inspect "):
		return nil
	case is("disable -f "):
		p.Enabled = false
	case is("rm -f "):
		return os.Remove(file)
	case is("enable "):
		p.Enabled = true
	case is("set "):
		if p.Enabled {
			return fmt.Errorf("cannot set on an active plugin, disable plugin before setting")
		}
		for _, setting := range args[3:] {
			if err := p.set(setting); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("unknown command %q", args)
	}
	return save(file, p)
}

func save(file string, p plugin) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

func create(file, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return err
	}
	var p plugin
	if err := json.Unmarshal(text, &p.Config); err != nil {
		return err
	}
	p.Settings = settings{Mounts: p.Config.Mounts, Devices: p.Config.Linux.Devices, Args: p.Config.Args.Value}
	for _, e := range p.Config.Env {
		if e.Value != nil {
			p.Settings.Env = append(p.Settings.Env, e.Name+"="+*e.Value)
		}
	}
	return save(file, p)
}

// set changes one setting. As in Docker, that of a mount or device is changed in the
// manifest, too, so that its default is known no longer.
func (p *plugin) set(setting string) error {
	name, value, _ := strings.Cut(setting, "=")
	for _, e := range p.Config.Env {
		if e.Name == name && slices.Contains(e.Settable, "value") {
			p.Settings.Env = append(slices.DeleteFunc(p.Settings.Env, func(s string) bool { return strings.HasPrefix(s, name+"=") }), setting)
			return nil
		}
	}
	for i, m := range p.Config.Mounts {
		if m.Name+".source" == name && slices.Contains(m.Settable, "source") {
			p.Config.Mounts[i].Source, p.Settings.Mounts[i].Source = &value, &value
			return nil
		}
	}
	for i, d := range p.Config.Linux.Devices {
		if d.Name+".path" == name && slices.Contains(d.Settable, "path") {
			p.Config.Linux.Devices[i].Path, p.Settings.Devices[i].Path = &value, &value
			return nil
		}
	}
	if p.Config.Args.Name == name && slices.Contains(p.Config.Args.Settable, "value") {
		p.Settings.Args = strings.Split(value, " ")
		return nil
	}
	return fmt.Errorf("setting %q not found in the plugin configuration", name)
}

// values returns all settings, as `docker plugin set` has their names.
func (p *plugin) values() map[string]string {
	all := map[string]string{}
	for _, e := range p.Settings.Env {
		name, value, _ := strings.Cut(e, "=")
		all[name] = value
	}
	for _, m := range p.Settings.Mounts {
		all[m.Name+".source"] = *m.Source
	}
	for _, d := range p.Settings.Devices {
		all[d.Name+".path"] = *d.Path
	}
	if p.Config.Args.Name != "" {
		all[p.Config.Args.Name] = strings.Join(p.Settings.Args, " ")
	}
	return all
}
