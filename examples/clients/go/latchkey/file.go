package latchkey

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// Load reads what SaveTo has written.
func Load(path string) (tokens Tokens, err error) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &tokens)
	}
	return tokens, err
}

// SaveTo replaces the file whole: a crash leaves the old tokens or the new ones.
func SaveTo(path string) func(Tokens) error {
	return func(tokens Tokens) error {
		text, err := json.Marshal(tokens)
		if err != nil {
			return err
		}
		file, err := os.CreateTemp(filepath.Dir(path), "session") // for its owner alone
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := file.Write(text); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
		return os.Rename(file.Name(), path)
	}
}
