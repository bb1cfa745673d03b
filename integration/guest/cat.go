package main

import (
	"io"
	"os"
)

// cat prints what it reads.
func cat([]string) error {
	_, err := io.Copy(os.Stdout, os.Stdin)
	return err
}
