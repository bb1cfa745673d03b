package compose

import "go.yaml.in/yaml/v3"

// depth is how many merges and aliases are followed: files of people have two or three, and
// one that leads to itself must end.
const depth = 32

// follow is the node that an alias stands for.
func follow(n *yaml.Node) *yaml.Node {
	for range depth {
		if n == nil || n.Kind != yaml.AliasNode {
			break
		}
		n = n.Alias
	}
	return n
}

// entry is a key of a mapping, and its value as it is written there.
func entry(m *yaml.Node, name string) (key, value *yaml.Node) {
	if m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name && m.Content[i].Tag != "!!merge" {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

// merged is entry with what `<<` brings; of is the mapping that has the key. What comes
// first in a list of merges counts (yaml.org/type/merge.html).
func merged(m *yaml.Node, name string) (key, value, of *yaml.Node) {
	return mergedWithin(m, name, depth)
}

func mergedWithin(m *yaml.Node, name string, deeper int) (key, value, of *yaml.Node) {
	if key, value = entry(m, name); key != nil || m == nil || m.Kind != yaml.MappingNode || deeper == 0 {
		return key, value, m
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Tag != "!!merge" {
			continue
		}
		sources := []*yaml.Node{m.Content[i+1]}
		if list := follow(m.Content[i+1]); list != nil && list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for _, s := range sources {
			if key, value, of = mergedWithin(follow(s), name, deeper-1); key != nil {
				return key, value, of
			}
		}
	}
	return nil, nil, nil
}

// get is the value of a key, merged and followed; nil: there is none.
func get(m *yaml.Node, name string) *yaml.Node {
	_, value, _ := merged(m, name)
	if value = follow(value); value == nil || value.Tag == "!!null" {
		return nil
	}
	return value
}

// word is the value of a key that is a word; "": there is none.
func word(m *yaml.Node, name string) string {
	if v := get(m, name); v != nil && v.Kind == yaml.ScalarNode {
		return v.Value
	}
	return ""
}

// isTrue reads a flag; YAML 1.1 and 1.2 have several words for it.
func isTrue(m *yaml.Node, name string) bool {
	var b bool
	v := get(m, name)
	return v != nil && v.Decode(&b) == nil && b
}

// isExternal reports whether the project only uses the network: external is true or, as it
// was written once, a mapping with its name.
func isExternal(m *yaml.Node) bool {
	v := get(m, "external")
	return isTrue(m, "external") || v != nil && v.Kind == yaml.MappingNode
}

// keys lists the words of a sequence, or the keys of a mapping.
func keys(n *yaml.Node) (all []string) {
	if n == nil {
		return nil
	}
	step := 1
	if n.Kind == yaml.MappingNode {
		step = 2
	} else if n.Kind != yaml.SequenceNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += step {
		all = append(all, follow(n.Content[i]).Value)
	}
	return all
}
