package main

import (
	"debug/elf"
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// machines are the processors that inspect knows, by Go's names. What each is called in a
// program's head is in elf(5).
func machines() map[string]elf.Machine {
	return map[string]elf.Machine{
		"386": elf.EM_386, "amd64": elf.EM_X86_64, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64,
		"ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
	}
}

// inspect looks whether the programs in the root file system are for the processor, and
// whether the linker and the libraries that they name are there. What a program opens by
// itself later, such as the extensions of iptables, isn't seen.
func inspect(root, arch string) error {
	machine, known := machines()[arch]
	if !known {
		return fmt.Errorf("processor %q is not known", arch)
	}
	seen := map[string]bool{}
	for _, words := range programs() {
		if err := inspectFile(root, words[0], machine, seen); err != nil {
			return fmt.Errorf("in the root file system: %w", err)
		}
	}
	return nil
}

// inspectFile looks at a program or library, and at what it needs.
func inspectFile(root, path string, machine elf.Machine, seen map[string]bool) error {
	if seen[path] {
		return nil
	}
	seen[path] = true
	f, err := elf.Open(filepath.Join(root, path))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	if f.Machine != machine {
		return fmt.Errorf("%s is for %v, not for %v", path, f.Machine, machine)
	}
	linker, err := interpreter(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if linker != "" {
		if err := inspectFile(root, linker, machine, seen); err != nil {
			return fmt.Errorf("%s needs %w", path, err)
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range libraries {
		found, err := library(root, name)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := inspectFile(root, found, machine, seen); err != nil {
			return fmt.Errorf("%s needs %w", path, err)
		}
	}
	return nil
}

// interpreter is the dynamic linker that a program asks for; "": none.
func interpreter(f *elf.File) (string, error) {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(name), "\x00"), err
		}
	}
	return "", nil
}

// library is where the dynamic linker finds a library: Debian keeps them in a directory
// for each processor (multiarch).
func library(root, name string) (string, error) {
	for _, pattern := range []string{"usr/lib/*/", "usr/lib/", "usr/lib64/"} {
		found, err := filepath.Glob(filepath.Join(root, pattern, name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return filepath.Rel(root, found[0])
		}
	}
	return "", fmt.Errorf("library %s is missing", name)
}
