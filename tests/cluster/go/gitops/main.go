// Command gitops reads pairs of objects in JSON from its input, {"config": as it is in Git, "live": as the API server has it}, and prints for each what
// Argo CD makes of it: InSync, or OutOfSync with what a sync would make of the live one.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/argoproj/gitops-engine/pkg/diff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type pair struct {
	Config unstructured.Unstructured `json:"config"`
	Live   unstructured.Unstructured `json:"live"`
}

func main() {
	decoder := json.NewDecoder(os.Stdin)
	for {
		var given pair
		if err := decoder.Decode(&given); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			fail(err)
		}
		result, err := diff.Diff(&given.Config, &given.Live, diff.WithNormalizer(diff.GetNoopNormalizer()))
		if err != nil {
			fail(err)
		}
		if result.Modified {
			fmt.Printf("OutOfSync %s\n", result.PredictedLive)
		} else {
			fmt.Println("InSync")
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
