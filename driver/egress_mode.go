package driver

import "github.com/mybr/mybr/internal/model"

// optEgressMode says whether the list of optEgress is enforced, or only watched.
const optEgressMode = optEgress + ".mode"

// isEgress reports whether a key is one of these two.
func isEgress(key string) bool { return key == optEgress || key == optEgressMode }

// parseEgressMode reads the option as it is recorded; an empty one says nothing.
func parseEgressMode(value string) (string, error) {
	if value == "" {
		return "", nil
	}
	mode, err := model.ParseEgressMode(value)
	if err != nil {
		return "", model.Invalid("option %s: %w", optEgressMode, err)
	}
	return mode, nil
}

// egressModeOption reads it among others.
func egressModeOption(opts map[string]any) (string, error) {
	var value string
	if err := get(opts, optEgressMode, &value); err != nil {
		return "", err
	}
	return parseEgressMode(value)
}

// checkEgressMode refuses a mode that nothing would come of: where there is no list, whoever says
// enforce would be wrong to believe it.
func checkEgressMode(n model.Network, e model.Endpoint) error {
	mode := e.EgressModeInForce()
	if e.ID == "" {
		mode = n.EgressModeInForce()
	}
	if mode == "" || model.EgressListed(n, e) {
		return nil
	}
	return model.Invalid("option %s: %s: there is no list that this could be about: give %s, too, or take the mode back", optEgressMode, mode, optEgress)
}
