// Command kindconfig reads a kind configuration with kind's own loader and prints OK, or what is wrong with it.
//
// The loader is internal to kind: this module's path lies below kind's, so that Go lets it in.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/kind/pkg/internal/apis/config/encoding"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kindconfig FILE")
		os.Exit(2)
	}
	config, err := encoding.Load(os.Args[1])
	if err == nil {
		err = config.Validate()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	fmt.Println("OK")
}
