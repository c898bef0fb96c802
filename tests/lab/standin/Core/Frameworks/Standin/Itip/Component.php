<?php
/** A component of iCalendar, such as VCALENDAR or VEVENT: its properties, and the components in it. */
declare(strict_types=1);

namespace Standin\Itip;

final class Component
{
    /** @var list<Property> */
    public array $properties = [];
    /** @var list<self> */
    public array $components = [];

    public function __construct(public readonly string $name)
    {
    }

    public static function read(string $text): self
    {
        $root = new self('');
        $open = [$root];
        foreach (preg_split('/\r?\n/', preg_replace('/\r?\n[ \t]/', '', $text)) as $line) {
            if (preg_match('/^BEGIN:(.+)$/i', $line, $match)) {
                $open[] = $component = new self(strtoupper($match[1]));
                $open[count($open) - 2]->components[] = $component;
            } elseif (preg_match('/^END:/i', $line)) {
                array_pop($open);
            } elseif ($line !== '') {
                end($open)->properties[] = Property::read($line);
            }
        }

        return $root->components[0];
    }

    public function __clone()
    {
        $this->properties = array_map(static fn (Property $property): Property => clone $property, $this->properties);
        $this->components = array_map(static fn (self $component): self => clone $component, $this->components);
    }

    /** @return list<self> */
    public function within(string $name): array
    {
        return array_values(array_filter($this->components, static fn (self $each): bool => $each->name === $name));
    }

    /** @return list<Property> */
    public function all(string $name): array
    {
        return array_values(array_filter($this->properties, static fn (Property $each): bool => $each->name === $name));
    }

    public function first(string $name): ?Property
    {
        return $this->all($name)[0] ?? null;
    }

    /** @param array<string, ?string> $parameters */
    public function add(string $name, string $value, array $parameters = []): void
    {
        $given = array_map(static fn (?string $each): array => (array) $each, $parameters);
        $this->properties[] = new Property($name, $value, $given);
    }

    /** Appends a property, and removes others with its name. */
    public function replace(string $name, string $value): void
    {
        $kept = array_filter($this->properties, static fn (Property $each): bool => $each->name !== $name);
        $this->properties = array_values($kept);
        $this->add($name, $value);
    }

    /** Copies another component's properties with these names. */
    public function take(self $other, string ...$names): void
    {
        foreach ($names as $name) {
            foreach ($other->all($name) as $property) {
                $this->properties[] = clone $property;
            }
        }
    }

    /** Time zones are before all components that refer to them. */
    public function text(): string
    {
        $components = $this->components;
        usort($components, static fn (self $a, self $b): int => ($b->name === 'VTIMEZONE') <=> ($a->name === 'VTIMEZONE'));
        $text = static fn (Property|self $each): string => $each->text();

        return "BEGIN:$this->name\r\n" . implode('', array_map($text, [...$this->properties, ...$components]))
            . "END:$this->name\r\n";
    }
}
