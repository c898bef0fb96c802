<?php
/**
 * A property of iCalendar, with its parameters (RFC 5545, and RFC 6868 for values of parameters).
 *
 * The contract: values of parameters and texts, with their line breaks, are
 * decoded when read and encoded when written. An address is treated as text.
 */
declare(strict_types=1);

namespace Standin\Itip;

final class Property
{
    private const TEXTS = ['ATTENDEE', 'COMMENT', 'DESCRIPTION', 'LOCATION', 'ORGANIZER', 'SUMMARY'];
    private const PART = '(?:"[^"]*"|[^";:,]*)';
    private const ESCAPES = ['\\' => '\\\\', ';' => '\\;', ',' => '\\,', "\n" => '\\n', "\r" => ''];

    /** @param array<string, list<string>> $parameters */
    public function __construct(public readonly string $name, public string $value, private array $parameters = [])
    {
    }

    /** @param string $line unfolded */
    public static function read(string $line): self
    {
        $list = self::PART . '(?:,' . self::PART . ')*';
        if (!preg_match("/^([\\w.-]+)((?:;[\\w-]+=$list)*):(.*)\$/s", $line, $match)) {
            return new self('', $line); // Unknown lines are kept.
        }
        preg_match_all("/;([\\w-]+)=($list)/", $match[2], $found, PREG_SET_ORDER);
        $parameters = [];
        foreach ($found as [, $name, $values]) {
            preg_match_all('/(?<=,|^)' . self::PART . '(?=,|$)/', $values, $parts);
            $parameters[strtoupper($name)] = array_map(self::decoded(...), $parts[0]);
        }
        $name = strtoupper($match[1]);
        $value = in_array($name, self::TEXTS, true) ? self::unescaped($match[3]) : $match[3];

        return new self($name, $value, $parameters);
    }

    public function has(string $parameter): bool
    {
        return isset($this->parameters[$parameter]);
    }

    public function get(string $parameter): string
    {
        return implode(',', $this->parameters[$parameter] ?? []);
    }

    public function set(string $parameter, string $value): void
    {
        $this->parameters[$parameter] = [$value];
    }

    public function drop(string $parameter): void
    {
        unset($this->parameters[$parameter]);
    }

    /** An address for comparison: the case of mailto: addresses is ignored. */
    public function address(): string
    {
        [$scheme, $rest] = explode(':', $this->value, 2) + [1 => ''];
        $scheme = strtolower($scheme);
        if (!str_contains($this->value, ':')) {
            return $this->value;
        }

        return "$scheme:" . ($scheme === 'mailto' ? strtolower($rest) : $rest);
    }

    public function text(): string
    {
        if ($this->name === '') {
            return self::folded($this->value);
        }
        $line = $this->name;
        foreach ($this->parameters as $name => $parts) {
            $line .= ";$name=" . implode(',', array_map(self::encoded(...), $parts));
        }
        $value = in_array($this->name, self::TEXTS, true) ? strtr($this->value, self::ESCAPES) : $this->value;

        return self::folded("$line:$value");
    }

    /** Folds at 75 bytes a line, without splitting a character. */
    private static function folded(string $line): string
    {
        $text = '';
        $width = 75;
        while (strlen($line) > $width) {
            $piece = mb_strcut($line, 0, $width, 'UTF-8');
            $text .= "$piece\r\n ";
            $line = substr($line, strlen($piece));
            $width = 74;
        }

        return "$text$line\r\n";
    }

    private static function decoded(string $part): string
    {
        return strtr(trim($part, '"'), ['^^' => '^', '^n' => "\n", "^'" => '"']);
    }

    private static function encoded(string $part): string
    {
        if (!preg_match('/[\n":;^,+]/', $part)) {
            return $part;
        }

        return '"' . strtr($part, ['^' => '^^', "\n" => '^n', '"' => "^'"]) . '"';
    }

    private static function unescaped(string $value): string
    {
        return preg_replace_callback(
            '/\\\\([\\\\;,nN])/',
            static fn (array $match): string => strtolower($match[1]) === 'n' ? "\n" : $match[1],
            $value,
        );
    }
}
