<?php
/**
 * Reads and writes config/baikal.yaml.
 *
 * The contract: the file has sections of scalars, written by PyYAML, by
 * Symfony's dumper or by hand. Strings may be plain, quoted and folded over
 * lines; true, false, null and numbers have their types. Anything else is an
 * error, as a damaged file must be.
 */
declare(strict_types=1);

namespace Standin;

final class Yaml
{
    private const KEY = '(?<key>[A-Za-z_][\w-]*|\'[\w-]+\'|"[\w-]+")';

    /**
     * @return array<string, mixed> sections, each with its values
     *
     * @throws \UnexpectedValueException also where there is no file, as Symfony's does: a FIFO is none
     */
    public static function parseFile(string $path): array
    {
        if (!is_file($path)) {
            throw new \UnexpectedValueException("File \"$path\" does not exist.");
        }

        return self::parse((string) file_get_contents($path));
    }

    /**
     * @return array<string, mixed> sections, each with its values
     *
     * @throws \UnexpectedValueException saying which line is malformed
     */
    public static function parse(string $text): array
    {
        $document = [];
        $section = null;
        $indent = null;
        $lines = preg_split('/\R/', $text);
        for ($number = 0; $number < count($lines); ++$number) {
            $line = rtrim($lines[$number]);
            if (preg_match('/^\s*(#.*)?$|^---$|^\.\.\.$/', $line)) {
                continue;
            }
            if (!preg_match('/^(?<indent> *)' . self::KEY . ' *:(?: +(?<value>.*))?$/', $line, $match)) {
                throw self::malformed($number, $line);
            }
            $first = $number;
            $depth = strlen($match['indent']);
            $raw = self::continued($match['value'] ?? '', $depth, $lines, $number);
            $key = trim($match['key'], '\'"');
            if ($depth === 0) {
                $section = $key;
                $indent = null;
                $target = &$document;
            } elseif (is_array($document[$section] ?? []) && $section !== null && $depth === ($indent ??= $depth)) {
                $document[$section] ??= [];
                $target = &$document[$section];
            } else {
                throw self::malformed($first, $line);
            }
            if (isset($target[$key])) {
                throw self::malformed($first, $line);
            }
            $target[$key] = self::value($raw, $first, $line);
            unset($target);
        }

        return $document;
    }

    /** @param array<string, array<string, mixed>> $document */
    public static function dump(array $document): string
    {
        $text = '';
        foreach ($document as $section => $values) {
            $text .= "$section:\n";
            foreach ($values as $key => $value) {
                $text .= "    $key: " . match (true) {
                    $value === null => 'null',
                    is_bool($value) => $value ? 'true' : 'false',
                    !is_string($value) || self::isPlain($value) => $value,
                    preg_match('/[\x00-\x1F]/', $value) === 1
                        => json_encode($value, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES),
                    default => "'" . str_replace("'", "''", $value) . "'",
                } . "\n";
            }
        }

        return $text;
    }

    /**
     * Joins a scalar that continues on deeper indented lines, as YAML folds it.
     *
     * @param list<string> $lines
     */
    private static function continued(string $value, int $depth, array $lines, int &$number): string
    {
        $quote = in_array($value[0] ?? '', ['"', "'"], true) ? $value[0] : null;
        $breaks = 0;
        while (isset($lines[$number + 1])) {
            $next = $lines[$number + 1];
            $unfinished = $quote !== null ? !self::closes($value, $quote) : $value !== '';
            if ($unfinished && trim($next) === '') {
                ++$breaks;
            } elseif ($unfinished && strspn($next, ' ') > $depth) {
                // A backslash at the end of a line of a double-quoted string joins without a space.
                $escaped = $quote === '"' && str_ends_with($value, '\\');
                $value = $escaped ? substr($value, 0, -1) : $value . ($breaks ? str_repeat("\n", $breaks) : ' ');
                $value .= trim($next);
                $breaks = 0;
            } else {
                break;
            }
            ++$number;
        }

        return $value;
    }

    private static function closes(string $value, string $quote): bool
    {
        $pattern = $quote === "'" ? '/^\'(?:[^\']|\'\')*\'\s*(#.*)?$/' : '/^"(?:[^"\\\\]|\\\\.)*"\s*(#.*)?$/';

        return preg_match($pattern, $value) === 1;
    }

    private static function value(string $raw, int $number, string $line): mixed
    {
        $raw = trim($raw);
        $quote = $raw[0] ?? '';
        if ($quote === "'" || $quote === '"') {
            if (!self::closes($raw, $quote)) {
                throw self::malformed($number, $line);
            }
            $inner = substr($raw, 1, strrpos($raw, $quote) - 1);

            return $quote === "'" ? str_replace("''", "'", $inner) : self::unescaped($inner);
        }
        $raw = trim(preg_replace('/(^|\s)#.*$/', '', $raw));
        if (preg_match('/^\{ *\}$/', $raw)) {
            return [];
        }
        if (preg_match('/^[\[\]{}&*!|>%@`,]|^- |: |:$/', $raw)) {
            throw self::malformed($number, $line);
        }

        return match (true) {
            in_array(strtolower($raw), ['', '~', 'null'], true) => null,
            in_array($raw, ['true', 'True', 'TRUE'], true) => true,
            in_array($raw, ['false', 'False', 'FALSE'], true) => false,
            preg_match('/^[-+]?(0|[1-9]\d*)$/', $raw) === 1 => (int) $raw,
            is_numeric($raw) => (float) $raw,
            default => $raw,
        };
    }

    private static function unescaped(string $text): string
    {
        $hex = '/\\\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))/';
        $named = ['n' => "\n", 't' => "\t", 'r' => "\r", 'a' => "\x07", 'b' => "\x08", 'v' => "\v", 'f' => "\f",
            '0' => "\0", 'e' => "\e", '_' => "\u{A0}", 'N' => "\u{85}", 'L' => "\u{2028}", 'P' => "\u{2029}"];

        return preg_replace_callback($hex, static fn (array $match): string => isset($match[4])
            ? $named[$match[4]] ?? $match[4]
            : mb_chr((int) hexdec($match[1] . ($match[2] ?? '') . ($match[3] ?? '')), 'UTF-8'), $text);
    }

    /** Whether a string, unquoted, would be read as that string by every YAML reader. */
    private static function isPlain(string $value): bool
    {
        $reserved = ['true', 'false', 'null', 'yes', 'no', 'on', 'off', 'y', 'n'];

        return preg_match('~^(?!\d{4}-|0x)[\w/][\w./@+-]*$~', $value) === 1
            && !is_numeric($value)
            && !in_array(strtolower($value), $reserved, true);
    }

    private static function malformed(int $number, string $line): \UnexpectedValueException
    {
        return new \UnexpectedValueException('Malformed YAML at line ' . ($number + 1) . " (near \"$line\").");
    }
}
